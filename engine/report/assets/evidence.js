"use strict";
/* The evidence of one file, in a dialog and on paper; also the theme and what is printed. */

const PRINTED_ROWS = 500, PRINTED_SHEETS = 40;
const blocks = [...document.querySelectorAll("script.details")];
const parsed = new Map();
const dialog = $("evidence");
const SVG = "http://www.w3.org/2000/svg";

function detail(place) {
  const size = Number($("table").dataset.block), number = Math.floor(place / size);
  if (!parsed.has(number)) parsed.set(number, JSON.parse(blocks[number].textContent));
  return parsed.get(number)[place % size];
}

function sentence([pattern, ...values]) {
  return tables.patterns[pattern].replaceAll("{}", () => values.shift());
}

function copyButton(text) {
  const button = make("button", { type: "button", class: "copy" }, "Copy");
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // no permission, or no secure context: the old way
      const area = make("textarea", { readonly: "" }, text);
      button.after(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

function fact(name, value, copied) {
  if (value === undefined || value === null || value === "") return "";
  const text = make("dd", { class: copied ? "mono" : "" }, String(value));
  return make("div", { class: copied ? "wide" : "" }, make("dt", {}, name), text, ...(copied ? [copyButton(String(value))] : []));
}

function framed(source, alt, missing, over) {
  const box = make("div", { class: "picture" });
  if (!source) box.append(make("span", {}, missing));
  else box.append(make("span", { class: "frame" }, make("img", { src: source, alt: alt }), ...(over ? [over] : [])));
  return box;
}

/** The crops over the picture: the stronger the colour, the surer the answer. */
function cropMap(data) {
  if (!data.crops || !data.width) return null;
  const map = document.createElementNS(SVG, "svg");
  map.setAttribute("viewBox", "0 0 " + data.width + " " + data.height);
  map.setAttribute("preserveAspectRatio", "none");
  map.setAttribute("role", "img");
  map.setAttribute("aria-label", "Crops by their scores; the table below lists them.");
  const covered = data.crops.reduce((sum, crop) => sum + crop[2] * crop[2], 0);
  const share = Math.min(1, data.width * data.height / covered); // where crops overlap, each is paler
  const most = Math.max(...data.crops.map((crop) => Math.abs(crop[3])), 1e-9);
  for (const [left, top, size, score, p] of data.crops) {
    const rect = document.createElementNS(SVG, "rect"), title = document.createElementNS(SVG, "title");
    const strength = p === null ? Math.abs(score) / most : Math.abs(2 * p - 1);
    const towards = (p === null ? score > 0 : p > 0.5) ? "fake" : "real";
    const place = { x: left, y: top, width: size, height: size, class: "crop " + towards, "fill-opacity": share * (0.03 + 0.35 * strength) };
    for (const [key, value] of Object.entries(place)) rect.setAttribute(key, value);
    title.textContent = "score " + signed(score, 4);
    rect.append(title);
    map.append(rect);
  }
  return map;
}

function cropSwitch(map) {
  const box = make("input", { type: "checkbox" });
  box.checked = true;
  box.addEventListener("change", () => { map.style.display = box.checked ? "" : "none"; });
  return make("label", { class: "switch" }, box, "show the crops");
}

function grid(heads, lines) {
  const cell = (name, value, number) => make(name, number ? { class: "number" } : {}, value);
  return make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map(([head, number]) => cell("th", head, number)))),
    make("tbody", {}, ...lines.map((line) => make("tr", {}, ...line.map((value, i) => cell("td", value, heads[i][1]))))));
}

function reference(data, label, heading) {
  const found = (data.near || []).find(([number]) => tables.references[number][1] === label);
  if (!found) return "";
  const [id, , generator, source] = tables.references[found[0]];
  return make("section", { class: "view" }, make("h3", {}, heading),
    framed(picture("reference-" + found[0]), heading + " " + id, "No picture of it is in this report."),
    make("p", {}, make("strong", {}, "cosine " + decimal(found[1], 4))),
    make("p", {}, id + (generator ? ", by " + generator : "") + (source ? ", from " + source : "")));
}

function sheet(place) {
  const row = rows[place], data = detail(place);
  const verdict = tables.verdicts[row[VERDICT]], status = tables.statuses[row[STATUS]];
  const parts = [
    make("p", {}, badge(verdict, status)),
    make("h2", { id: "evidence-heading", tabindex: "-1" }, row[PATH]),
    make("p", { class: "headline" }, sentence(data.why[0])),
  ];
  if (verdict) {
    const source = picture("file-" + place), map = cropMap(data);
    parts.push(make("div", { class: "views" },
      make("section", { class: "view" }, make("h3", {}, "This file"),
        framed(source, "Thumbnail of the file, as stored", "No picture of it is in this report.", map),
        source && map ? cropSwitch(map) : "",
        source ? make("p", {}, "As stored; a rotation in its EXIF is not applied.") : ""),
      reference(data, "real", "Nearest real reference"), reference(data, "fake", "Nearest generated reference")));
  }
  if (data.advice) parts.push(make("p", { class: "advice" }, make("strong", {}, "Next: "), sentence(data.advice)));
  if (data.why.length > 1) parts.push(make("h3", {}, "Why"), make("ul", { class: "why" }, ...data.why.slice(1).map((said) => make("li", {}, sentence(said)))));
  parts.push(make("h3", {}, "File"), make("dl", { class: "facts" },
    fact("Path", row[PATH], true), fact("SHA-256", row[SHA], true), fact("Same bytes as", data.duplicate, true),
    fact("Size", data.bytes === undefined ? "" : data.bytes.toLocaleString("en") + " bytes"),
    fact("Format", data.format), fact("Pixels", data.width ? data.width + " × " + data.height : ""),
    fact("Status", status), fact("Plain vote", data.knn), fact("Arithmetic", data.precision)));
  if (data.near) {
    parts.push(make("h3", {}, "References nearby"), grid([["Class"], ["Reference"], ["Generator"], ["Source"], ["Cosine", true]],
      data.near.map(([number, cosine]) => {
        const [id, label, generator, source] = tables.references[number];
        return [label, id, generator, source, decimal(cosine, 4)];
      })));
  }
  if (data.provenance) {
    parts.push(make("h3", {}, "Provenance in the file"),
      grid([["Kind"], ["Statement"], ["Strength"], ["Field"]], data.provenance.map(([kind, ...rest]) => [words(kind), ...rest])));
  }
  if (data.probe) {
    parts.push(make("h3", {}, "Its middle, and changes of it that should not matter"), grid([["Middle"], ["Score", true], ["Verdict"]],
      data.probe.map(([change, score, answer]) => [change, signed(score, 4), answer])));
  }
  if (data.crops) {
    parts.push(make("h3", {}, "Crops"), grid([["Left", true], ["Top", true], ["Side", true], ["Score", true], ["P(generated)", true]],
      data.crops.map(([left, top, size, score, p]) => [left, top, size, signed(score, 4), decimal(p, 3)].map(String))));
  }
  return parts.filter(Boolean);
}

let current = -1;
function show(place) {
  current = place;
  $("sheet").replaceChildren(...sheet(place));
  const at = state.shown.indexOf(place);
  $("before").disabled = at <= 0;
  $("after").disabled = at < 0 || at === state.shown.length - 1;
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  history.replaceState(null, "", "#file-" + (place + 1));
}

function step(by) {
  const at = state.shown.indexOf(current) + by;
  if (at >= 0 && at < state.shown.length) show(state.shown[at]);
}

function follow() {
  const named = /^#file-(\d+)$/.exec(location.hash);
  if (named && rows[named[1] - 1]) show(named[1] - 1);
}

$("rows").addEventListener("click", (event) => {
  const opener = event.target.closest("[data-file]");
  if (opener) show(Number(opener.dataset.file));
});
$("before").addEventListener("click", () => step(-1));
$("after").addEventListener("click", () => step(1));
$("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => {
  history.replaceState(null, "", location.pathname + location.search);
  document.querySelector('[data-file="' + current + '"]')?.focus();
});
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
addEventListener("hashchange", follow);

const themes = ["auto", "light", "dark"];
$("theme").addEventListener("click", () => {
  const root = document.documentElement, next = themes[(themes.indexOf(root.dataset.theme || "auto") + 1) % 3];
  if (next === "auto") delete root.dataset.theme;
  else root.dataset.theme = next;
  $("theme").textContent = "Theme: " + next;
  $("theme").setAttribute("aria-label", "Colours: " + (next === "auto" ? "as the system" : next));
});

addEventListener("beforeprint", () => {
  if (dialog.open) return;
  const shown = state.shown.slice(0, PRINTED_ROWS);
  $("rows").replaceChildren(...shown.map((place) => line(place, false)));
  const flagged = shown.filter((place) => ["fake", "inconclusive"].includes(tables.verdicts[rows[place][VERDICT]]));
  const suspects = flagged.filter((place) => tables.statuses[rows[place][STATUS]] !== "duplicate"); // its first copy says the same
  const sheets = suspects.slice(0, PRINTED_SHEETS);
  $("sheets").replaceChildren(...sheets.map((place) => {
    const parts = sheet(place);
    parts[1].removeAttribute("id");
    return make("article", {}, ...parts);
  }));
  $("printed").textContent = "Printed: " + shown.length + " of " + rows.length + " files" +
    (sheets.length ? ", with the evidence of the first " + sheets.length + " of " + suspects.length + " flagged ones" : "") +
    ". Filter and sort the table before printing to choose others, or print one file's evidence from its own page.";
});
addEventListener("afterprint", () => { $("sheets").replaceChildren(); draw(); });
$("print").addEventListener("click", () => print());
follow();

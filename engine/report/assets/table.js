"use strict";
/* The table: reads the rows, sorts and filters them by number, and shows one page at a time. */

const [PATH, SHA, VERDICT, STATUS, REASON, GENERATOR, P, LR, SCORE, DECISION] = Array(10).keys();
const $ = (id) => document.getElementById(id);
const tables = JSON.parse($("tables").textContent);
const rows = [];
for (const block of document.querySelectorAll("script.rows")) {
  for (const row of JSON.parse(block.textContent)) rows.push(row);
  block.remove();
}

/** An element with attributes and children; text never becomes markup. */
function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const words = (code) => code.replaceAll("_", " ");
const decimal = (value, digits) => (value === null ? "" : value.toFixed(digits));
const signed = (value, digits) => (value === null ? "" : (value > 0 ? "+" : "") + value.toFixed(digits));

/** The address of a thumbnail, or null where the report has none. */
function picture(name) {
  const data = $(name);
  return data && "data:image/jpeg;base64," + data.textContent;
}

function badge(verdict, status) {
  return make("span", { class: "badge " + (verdict || "none") }, verdict || status);
}

const ranks = (names) => {
  const order = names.map((_, i) => i).sort((a, b) => (names[a] < names[b] ? -1 : names[a] > names[b] ? 1 : 0));
  const rank = [];
  order.forEach((number, place) => { rank[number] = names[number] === "" ? Infinity : place; });
  return rank;
};
const generatorRank = ranks(tables.generators);
const reasonRank = ranks(tables.reasons);
const last = (value) => (value === null ? Infinity : value);
/* What each heading sorts by; what is missing comes last in either direction. */
const keys = {
  path: (row, place) => place, verdict: (row) => row[VERDICT], status: (row) => row[STATUS],
  generator: (row) => generatorRank[row[GENERATOR]], reason: (row) => reasonRank[row[REASON]],
  p: (row) => last(row[P]), lr: (row) => last(row[LR]), score: (row) => last(row[SCORE]),
};
const falling = new Set(["p", "lr", "score"]);

const state = { sort: "verdict", descending: false, page: 0, size: 50, shown: [] };
let haystack = null; // made when text is first searched for

function search(text) {
  haystack ??= rows.map((row) => (row[PATH] + "\n" + row[SHA] + "\n" + tables.generators[row[GENERATOR]]).toLowerCase());
  const needles = text.toLowerCase().split(/\s+/).filter(Boolean);
  return (place) => needles.every((needle) => haystack[place].includes(needle));
}

function select() {
  const text = $("text").value.trim();
  const found = text ? search(text) : () => true;
  const verdicts = new Set([...document.querySelectorAll("#verdicts input:checked")].map((box) => Number(box.value)));
  const generator = $("generator").value, reason = $("reason").value;
  const shown = [];
  for (let place = 0; place < rows.length; place++) {
    const row = rows[place];
    if (verdicts.has(row[VERDICT]) && (generator === "" || row[GENERATOR] === Number(generator)) &&
        (reason === "" || row[REASON] === Number(reason)) && found(place)) shown.push(place);
  }
  state.shown = shown;
  order();
}

function order() {
  const key = keys[state.sort], way = state.descending ? -1 : 1;
  const value = new Float64Array(rows.length);
  const likely = new Float64Array(rows.length); // equals: the most suspicious first
  for (const place of state.shown) {
    value[place] = key(rows[place], place);
    likely[place] = rows[place][DECISION] ?? rows[place][SCORE] ?? -Infinity;
  }
  state.shown.sort((a, b) => {
    const x = value[a], y = value[b];
    if (x !== y) return x === Infinity ? 1 : y === Infinity ? -1 : way * (x - y);
    return likely[b] - likely[a] || a - b;
  });
  state.page = 0;
  draw();
}

function line(place, pictures) {
  const row = rows[place], verdict = tables.verdicts[row[VERDICT]], status = tables.statuses[row[STATUS]];
  const open = make("button", { type: "button", "data-file": place }, make("span", {}, row[PATH]));
  const small = pictures ? picture("file-" + place) : null;
  if (small) open.prepend(make("img", { src: small, alt: "" }));
  return make("tr", {},
    make("td", {}, badge(verdict, status)),
    make("td", { class: "file" }, open),
    make("td", { class: "number", "data-name": "P" }, decimal(row[P], 3)),
    make("td", { class: "number", "data-name": "log10 LR" }, signed(row[LR], 2)),
    make("td", { class: "number", "data-name": "score" }, signed(row[SCORE], 4)),
    make("td", { "data-name": "generator" }, tables.generators[row[GENERATOR]]),
    make("td", { "data-name": "reason" }, words(tables.reasons[row[REASON]])),
    make("td", { "data-name": "status" }, status));
}

function draw() {
  const pages = Math.max(1, Math.ceil(state.shown.length / state.size));
  state.page = Math.min(state.page, pages - 1);
  const from = state.page * state.size;
  $("rows").replaceChildren(...state.shown.slice(from, from + state.size).map((place) => line(place, true)));
  const all = rows.length.toLocaleString("en"), some = state.shown.length.toLocaleString("en");
  $("count").textContent = some === all ? all + " files" : some + " of " + all + " files";
  $("page").textContent = "Page " + (state.page + 1) + " of " + pages.toLocaleString("en");
  $("first").disabled = $("previous").disabled = state.page === 0;
  $("last").disabled = $("next").disabled = state.page === pages - 1;
  for (const head of document.querySelectorAll("#table th")) {
    const chosen = head.firstElementChild.dataset.sort === state.sort;
    head.setAttribute("aria-sort", chosen ? (state.descending ? "descending" : "ascending") : "none");
  }
}

function turn(page) {
  state.page = page;
  draw();
}

function choices(id, names, label) {
  const order = names.map((_, i) => i).filter((i) => names[i] !== "").sort((a, b) => (names[a] < names[b] ? -1 : 1));
  $(id).append(make("option", { value: "" }, "any"), ...order.map((i) => make("option", { value: i }, label(names[i]))));
  $(id).disabled = order.length === 0;
}

choices("generator", tables.generators, (name) => name);
choices("reason", tables.reasons, words);
tables.verdicts.forEach((verdict, number) => {
  const box = make("input", { type: "checkbox", value: number });
  box.defaultChecked = true;
  $("verdicts").append(make("label", {}, box, verdict || "without"));
});
$("filters").addEventListener("submit", (event) => event.preventDefault());
$("filters").addEventListener("input", select);
$("filters").addEventListener("reset", () => setTimeout(select));
$("table").tHead.addEventListener("click", (event) => {
  const sort = event.target.dataset.sort;
  if (!sort) return;
  state.descending = sort === state.sort ? !state.descending : falling.has(sort);
  state.sort = sort;
  order();
});
$("first").addEventListener("click", () => turn(0));
$("previous").addEventListener("click", () => turn(state.page - 1));
$("next").addEventListener("click", () => turn(state.page + 1));
$("last").addEventListener("click", () => turn(Infinity));
$("size").addEventListener("change", () => { state.size = Number($("size").value); turn(0); });
select();

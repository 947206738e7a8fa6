import tomllib
from dataclasses import fields

import pytest
from code_forensics.train.config import TrainConfig, from_toml, read_config, to_toml
from code_forensics.train.errors import ConfigError


def test_every_default_is_printed_with_a_note_and_read_back():
    text = to_toml(TrainConfig())
    assert from_toml(text, "printed") == TrainConfig()
    tables = tomllib.loads(text)
    for option in fields(TrainConfig):
        if isinstance(tables[option.name], dict):
            part = getattr(TrainConfig(), option.name)
            assert set(tables[option.name]) == {f.name for f in fields(part)}
    options = [line for line in text.splitlines() if "=" in line.split("#")[0]]
    assert all("  # " in line for line in options)


def test_other_values_survive_too():
    config = from_toml(
        'seed = 3\n[data]\nholdout = ["a*", "ü\\"x"]\n[loss]\npositives = "instance"\n'
        "[equalise]\nscale = [1, 1.5]",
        "test",
    )
    assert config.data.holdout == ("a*", 'ü"x')
    assert config.equalise.scale == (1.0, 1.5)
    assert from_toml(to_toml(config), "printed") == config


def test_the_published_recipe_is_the_default():
    config = TrainConfig()
    s = config.schedule
    assert (s.epochs, s.steps, s.batch, s.lr, s.weight_decay) == (150, 1700, 256, 2e-3, 2e-5)
    assert (s.warmup_epochs, s.warmup_lr, s.clip) == (5, 1e-6, 0)
    assert (config.loss.temperature, config.loss.positives, config.loss.negatives) == (
        0.1, "class", "process",
    )  # fmt: skip
    assert (config.views.global_scale, config.views.local_scale) == ((0.4, 1.0), (0.05, 0.4))
    assert config.probe.patience == 6
    assert not config.equalise.enabled


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[schedule]\nepoch = 3", "unknown option 'epoch'"),
        ("[nonsense]\nx = 1", "unknown option 'nonsense'"),
        ("schedule = 3", "schedule is a table"),
        ('[schedule]\nlr = "fast"', "expected a float"),
        ("[schedule]\nepochs = 1.5", "expected a int"),
        ("[schedule]\nepochs = true", "expected a int"),
        ("[schedule]\nbatch = 1", "at least 2"),
        ('[loss]\npositives = "clas"', "expected one of class, instance"),
        ("[views]\nglobal_scale = [0.4]", "a list of 2 values"),
        ("[views]\nlocal_scale = [0.5, 0.1]", "ranges within"),
        ("[views]\nkeep = 0.0", "views.keep lies above 0"),
        ("[views]\nkeep = 1.5", "views.keep lies above 0"),
        ("[equalise]\nquality = [0, 90]", "equalise.quality"),
        ("seed = -1", "seed is at least 0"),
        ("[schedule\n", "is not TOML"),
    ],
)
def test_mistakes_are_named(text, says):
    with pytest.raises(ConfigError, match=says):
        from_toml(text, "test.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(tmp_path / "none.toml")

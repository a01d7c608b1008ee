"""Loading, checking and writing configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sparcode.config.keys import iter_keys, render_defaults
from sparcode.config.loader import config_differences, dump_config, flatten, load_config
from sparcode.config.schema import Config
from sparcode.errors import ConfigError, UsageError

ROOT = Path(__file__).parents[3]

NAMES = {"model.name", "model.encoder.name", "data.name", "data.source", "data.protocol", "data.dataset_dir"}
"""Keys that say what a configuration is; stated even where they equal the default."""


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str) -> Path:
        path = tmp_path / "case.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_states_only_what_differs(write) -> None:
    config = load_config(write("train:\n  batch_size: 64\n  loss:\n    negatives: full\n"))
    assert config_differences(Config(), config) == ["train.batch_size", "train.loss.negatives"]
    assert config.train.batch_size == 64
    assert config.train.loss.negatives == "full"


def test_an_override_goes_before_the_file_and_a_later_one_before_an_earlier(write) -> None:
    path = write("train:\n  batch_size: 64\n  epochs: 3\n")
    config = load_config(path, ["train.batch_size=16", "train.batch_size=32"])
    assert (config.train.batch_size, config.train.epochs) == (32, 3)


def test_an_override_may_set_part_of_a_section(write) -> None:
    config = load_config(write("train: {epochs: 3}"), ["train={batch_size: 8, loss: {num_negatives: 4}}"])
    assert (config.train.epochs, config.train.batch_size, config.train.loss.num_negatives) == (3, 8, 4)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("1E-3", 1e-3), ("2.5e-4", 2.5e-4), ("1", 1.0), (".5", 0.5), ("+1e+0", 1.0)],
)
def test_every_notation_of_a_number_is_a_number(write, text: str, value: float) -> None:
    assert load_config(write(f"train:\n  learning_rate: {text}\n")).train.learning_rate == value
    assert load_config(write("seed: 0"), [f"train.learning_rate={text}"]).train.learning_rate == value


def test_scalars_follow_yaml_1_2(write) -> None:
    config = load_config(write("seed: 010\ndata:\n  name: no\n  dataset_dir: 2020-01-01\n"))
    assert (config.seed, config.data.name, config.data.dataset_dir) == (10, "no", "2020-01-01")


def test_null_is_null_where_it_is_allowed(write) -> None:
    assert load_config(write("data:\n  min_rating: 4\n"), ["data.min_rating=null"]).data.min_rating is None
    assert load_config(write("data:\n  min_rating: 4\n"), ["data.min_rating="]).data.min_rating is None
    assert "train.epochs" in refusal(write("train:\n  epochs:\n"))


def test_a_section_with_nothing_below_it_states_nothing(write) -> None:
    assert load_config(write("train:\n  loss:\nmodel:\n")) == Config()


def test_cut_offs_may_be_a_yaml_list(write) -> None:
    assert load_config(write("eval:\n  ks: [5, 20]\n")).eval.ks == (5, 20)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train:\n  batch_size: '3'\n", ["train.batch_size", "line 2", "integer >= 0", "'3'"]),
        ("train:\n  batch_size: 3.0\n", ["train.batch_size", "integer >= 0", "3.0"]),
        ("train:\n  batch_size: -1\n", ["train.batch_size", "integer >= 0", "received -1"]),
        ("train:\n  epochs: true\n", ["train.epochs", "integer > 0", "True"]),
        ("eval:\n  exclude_seen: 1\n", ["eval.exclude_seen", "true | false", "received 1"]),
        ("eval:\n  exclude_seen: yes\n", ["eval.exclude_seen", "true | false", "'yes'"]),
        ("model:\n  score_bias: .nan\n", ["model.score_bias", "number", "nan"]),
        (
            "model:\n  name: towers\n",
            [
                "model.name",
                "all_to_all | max_sim | mol | sparcode | two_tower",
                "'towers'",
                "did you mean two_tower?",
            ],
        ),
        ("data:\n  valid_ratio: 1.0\n", ["data.valid_ratio", "number in [0, 1)", "1.0"]),
        ("eval:\n  ks: [10, -1]\n", ["eval.ks[1]", "list of integer > 0", "-1"]),
        ("eval:\n  ks: []\n", ["eval.ks", "not empty"]),
        ("train: 3\n", ["train", "a section of keys", "received 3"]),
        ("train:\n  monitor: loss\n", ["train.monitor", "ndcg", "'loss'"]),
    ],
)
def test_wrong_values_are_refused_by_key_value_and_range(write, text: str, parts: list[str]) -> None:
    path = write(text)
    message = refusal(path)
    for part in [*parts, str(path)]:
        assert part in message


def test_a_wrong_override_names_the_flag_and_not_the_file(write) -> None:
    message = refusal(write("train:\n  batch_size: 64\n"), "train.batch_size=many")
    assert "train.batch_size (--set train.batch_size=many)" in message
    assert "case.yaml" not in message


@pytest.mark.parametrize(
    ("override", "remedy"),
    [
        ("train.batch_sise=3", "did you mean train.batch_size?"),
        ("learning_rate=3", "did you mean train.learning_rate?"),
        ("batch_size=3", "did you mean train.batch_size or eval.batch_size?"),
        ("model.quantiser.codebook_size=3", "did you mean model.quantizer?"),
        ("device.zzz=3", "known keys here: device.target, device.id, device.mode"),
    ],
)
def test_an_unknown_key_is_refused_with_a_suggestion(write, override: str, remedy: str) -> None:
    message = refusal(write("seed: 0"), override)
    assert "unknown configuration key" in message
    assert remedy in message


@pytest.mark.parametrize(
    ("settings", "key", "needs"),
    [
        (["model.encoder.dropout=0.5"], "model.encoder.dropout", "model.encoder.name gru4rec | sasrec"),
        (["model.scorer.num_heads=2"], "model.scorer.num_heads", "model.scorer.name attention"),
        (["model.name=two_tower", "model.token_size=4"], "model.token_size", "all_to_all | sparcode"),
        (["model.mixture.gate_size=4"], "model.mixture", "model.name mol"),
    ],
)
def test_a_key_that_belongs_to_another_network_is_refused_by_its_name(
    write, settings: list[str], key: str, needs: str
) -> None:
    message = refusal(write("seed: 0"), *settings)
    assert message.startswith(f"{key} (")
    assert "the key needs " in message
    assert needs in message


def test_choosing_another_network_leaves_out_what_the_file_says_of_its_own(write) -> None:
    path = write(
        "model:\n  token_size: 8\n  item_std: 0.1\n  quantizer:\n    codebook_size: 64\n"
        "  encoder:\n    name: sasrec\n    dropout: 0.5\n    hidden_size: 32\n"
    )
    config = load_config(path, ["model.name=two_tower", "model.encoder.name=dnn"])
    assert (config.model.name, config.model.item_std) == ("two_tower", 0.1)
    assert (config.model.encoder.name, config.model.encoder.hidden_size) == ("dnn", 32)
    assert load_config(path).model.quantizer.codebook_size == 64
    for name in ("two_tower", "mol", "max_sim", "all_to_all"):
        load_config(ROOT / "default_config.yaml", [f"model.name={name}"])


def test_further_faults_are_named(write) -> None:
    message = refusal(write("seed: -1\ntrain:\n  epochs: 0\n  typo: 1\n"))
    assert message.startswith("seed (")
    assert "also wrong: train.epochs, train.typo" in message


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (
            ["model.token_size=10", "model.quantizer.num_codebooks=4"],
            "divisible by model.quantizer.num_codeb",
        ),
        (["model.quantizer.codebook_size=4096", "model.quantizer.num_codebooks=4"], "posting lists"),
        (
            [
                "model.num_query_tokens=16",
                "model.quantizer.codebook_size=4096",
                "model.quantizer.num_codebooks=2",
            ],
            "for each of 16 sets of codebooks, is 268435456, more than 16777216 posting lists",
        ),
        (
            [
                "model.quantizer.codebook_size=4097",
                "model.quantizer.num_codebooks=2",
                "model.quantizer.shared=true",
            ],
            "for each of 1 sets of codebooks, is 16785409",
        ),
        (["data.source=movielens"], "data.path is required"),
        (["data.path=ratings.dat"], "data.source synthetic reads no files"),
        (["data.source=deezer", "data.path=d"], "data.protocol"),
        (
            ["data.source=deezer", "data.path=d", "data.protocol=pre_split", "model.encoder.name=sasrec"],
            "model.encoder.name",
        ),
        (
            ["data.source=deezer", "data.path=d", "data.protocol=pre_split", "data.use_user_features=false"],
            "data.use_user_features",
        ),
        (["data.valid_ratio=0.5", "data.test_ratio=0.5"], "data.valid_ratio + data.test_ratio"),
        (["model.scorer.name=attention", "model.scorer.num_heads=3"], "model.scorer.num_heads"),
        (["model.name=mol", "model.mixture.item_components=17"], "model.mixture.item_components is 272"),
        (
            ["model.quantizer.codebook_size=4", "index.probes=5"],
            "index.probes (5) must not exceed the number of codes of a token (4)",
        ),
        (
            ["model.signed_scores=false", "index.prior_strength=30"],
            "index.prior_strength (30.0) needs model.signed_scores",
        ),
    ],
)
def test_impossible_combinations_are_refused_naming_where_they_were_set(
    write, settings: list[str], named: str
) -> None:
    message = refusal(write("seed: 0"), *settings)
    assert named in message
    assert "(--set " in message


def test_shared_codebooks_may_have_as_many_codes_as_lists(write) -> None:
    """4096 ** 2 lists are the limit; with codebooks for each of 8 tokens there would be 8 times as many."""
    settings = ["model.quantizer.codebook_size=4096", "model.quantizer.num_codebooks=2"]
    config = load_config(write("seed: 0"), [*settings, "model.quantizer.shared=true"])
    assert config.model.quantizer.shared
    load_config(write("seed: 0"), [*settings, "model.name=all_to_all"])  # has no lists


@pytest.mark.parametrize("signed", ["true", "false"])
def test_what_is_chosen_and_lists_of_the_network_alone_go_with_scores_of_either_kind(write, signed) -> None:
    path, kind = write("seed: 0"), f"model.signed_scores={signed}"
    assert load_config(path, [kind, "index.prior_strength=null"]).index.prior_strength is None
    assert load_config(path, [kind, "index.prior_strength=0"]).index.prior_strength == 0
    assert load_config(path, [kind, "model.quantizer.codebook_size=4", "index.probes=4"]).index.probes == 4


def test_codebooks_may_be_fitted_when_training_is_over_and_not_later(write) -> None:
    assert load_config(write("seed: 0"), ["train.quantize_from=1"]).train.quantize_from == 1.0
    assert "number in [0, 1]" in refusal(write("seed: 0"), "train.quantize_from=1.1")


def test_an_impossible_combination_in_the_file_names_its_line(write) -> None:
    message = refusal(write("seed: 1\nmodel:\n  token_size: 9\n  quantizer:\n    num_codebooks: 2\n"))
    assert "model.token_size (" in message
    assert "line 3" in message


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("", "holds no keys", 1),
        ("# nothing\n", "holds no keys", 1),
        ("- 1\n- 2\n", "not a mapping", 1),
        ("text\n", "not a mapping", 1),
        ("seed: 1\ntrain: [\n", "invalid YAML", 3),
        ("train:\n\tepochs: 1\n", "invalid YAML", 2),
        ("seed: 1\n---\nseed: 2\n", "invalid YAML", 2),
        ("seed: 1\nseed: 2\n", "given twice", 2),
        ("train:\n  epochs: 1\n  batch_size: 2\n  epochs: 3\n", "train.epochs is given twice", 4),
        ("1: 2\n", "a key is not text", 1),
        ("a: &a\n  b: *a\n", "refers to itself", 1),
        ("seed: 1\ndata:\n  name: !!python/name:os.system x\n", "invalid YAML", 3),
    ],
)
def test_what_is_no_mapping_of_keys_is_refused_with_its_line(
    write, text: str, problem: str, line: int
) -> None:
    path = write(text)
    message = refusal(path)
    assert problem in message
    assert f"{path}, line {line}" in message


@pytest.mark.parametrize("text", ["seed: \x00", "seed: !!int abc", "[" * 5000])
def test_text_beyond_yaml_is_refused(write, text: str) -> None:
    assert "YAML" in refusal(write(text))


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    assert "not found" in refusal(tmp_path / "absent.yaml")
    assert str(tmp_path) in refusal(tmp_path)
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"data: {name: caf\xe9}")
    assert "UTF-8" in refusal(latin)


@pytest.mark.parametrize("setting", ["train.batch_size", "=3", "train..x=1", "", ".a=1", "a b=1"])
def test_an_override_must_be_a_key_and_a_value(write, setting: str) -> None:
    with pytest.raises(UsageError, match=r"section\.key=value"):
        load_config(write("seed: 0"), [setting])


def test_invalid_yaml_in_an_override_is_refused(write) -> None:
    assert "quote" in refusal(write("seed: 0"), "data.table.separator=,")


def test_the_global_yaml_loader_is_left_alone() -> None:
    assert yaml.safe_load("a: 1e-3\nb: no") == {"a": "1e-3", "b": False}


def test_default_config_yaml_is_what_the_schema_generates() -> None:
    text = (ROOT / "default_config.yaml").read_text(encoding="utf-8")
    assert text == render_defaults(), "run python scripts/write_default_config.py"


def test_default_config_yaml_states_every_key_with_its_default() -> None:
    stated = flatten(yaml.safe_load((ROOT / "default_config.yaml").read_text(encoding="utf-8")))
    assert set(stated) == set(flatten(Config().model_dump()))
    assert load_config(ROOT / "default_config.yaml") == Config()


def test_every_key_has_a_description_of_one_line() -> None:
    for key in iter_keys():
        assert key.description, key.path
        assert "\n" not in key.description, key.path


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}/{p.stem}"
)
def test_committed_configurations_load_and_state_only_what_differs(path: Path) -> None:
    config = load_config(path)
    stated = flatten(yaml.safe_load(path.read_text(encoding="utf-8")))
    differing = set(config_differences(Config(), config))
    assert set(stated) - differing <= NAMES


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
texts |= st.sampled_from(
    ["1e-3", "no", "null", "~", "0x1", "010", "2020-01-01", "a: b", "# x", " a ", "a\nb", "'", "<<"]
)


@given(
    name=texts,
    path=st.none() | texts,
    rate=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    ks=st.lists(st.integers(min_value=1), min_size=1, max_size=4),
    seed=st.integers(min_value=0, max_value=2**31 - 1),
    flag=st.booleans(),
)
def test_round_trip(tmp_path_factory, name, path, rate, ks, seed, flag) -> None:
    data = {"name": name, "use_item_features": flag}
    if path is not None:
        data |= {"path": path, "source": "movielens"}
    config = Config.model_validate(
        {"seed": seed, "data": data, "train": {"learning_rate": rate}, "eval": {"ks": ks}}
    )
    file = tmp_path_factory.mktemp("round_trip") / "config.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    assert load_config(file) == config
    assert config_differences(load_config(file), config) == []

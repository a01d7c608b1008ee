"""What the documentation says is there: files, links, commands, configuration keys, defaults.

Commands are not run, but for the inspection of files. They are parsed by the scripts' own parsers, in the
order of the page, so that a command may only use a run or a bundle that an earlier one has made.
"""

from __future__ import annotations

import fnmatch
import inspect
import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import preprocess
import pytest

from own_shop import write_shop
from sparcode.config import command_lines
from sparcode.config.keys import iter_keys
from sparcode.config.loader import dump_config, load_config
from sparcode.config.schema import Config
from sparcode.errors import SparcodeError

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
CHINESE = ROOT / "README_CN.md"
DOCUMENTS = [README, CHINESE, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
MAX_LINE = 110

QUICKSTART_RUNS = {
    "runs/quickstart/sparcode": "configs/synthetic/sparcode.yaml",
    "runs/quickstart/two_tower": "configs/synthetic/two_tower.yaml",
}
QUICKSTART_BUNDLES = {"runs/quickstart/bundle"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", without_blocks(text))


# ---- links and files


def anchors(text: str) -> set[str]:
    """Anchors of the headings, as hosts of Markdown derive them."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(document: Path) -> list[str]:
    text = document.read_text(encoding="utf-8")
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_blocks(text)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = document.parent / path if path else document
        if not file.is_file() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_relative_links_lead_somewhere(document: Path) -> None:
    assert broken_links(document) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A title, here\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#a-title-here) [b](there.md#no) [c](absent.md) [d](https://example.org/x)")
    assert broken_links(page) == ["there.md#no", "absent.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_files_named_in_the_text_exist(document: Path) -> None:
    rooted = re.compile(r"(?:src|scripts|tests|configs|docs|benchmarks)/[\w./-]+")
    text = document.read_text(encoding="utf-8")
    shown = set(re.findall(r"`(\S+)`:\n\n```python", text))  # files that the page itself spells out
    named = {code for code in inline_code(text) if rooted.fullmatch(code)} - shown
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_tree_of_scripts_lists_files_that_exist() -> None:
    (tree,) = code_blocks(README.read_text(encoding="utf-8"), "text")
    parents: list[str] = []
    listed = []
    for line in tree.splitlines()[1:]:
        prefix, name = re.match(r"([│ ├└─]*)(\S+)", line).groups()  # type: ignore[union-attr]
        parents = [*parents[: len(prefix) // 4 - 1], name]
        listed.append("/".join(parents))
    assert [path for path in listed if not any(ROOT.glob(path))] == []
    entries = {path.name for path in ROOT.glob("*.py")} | {
        name_of(path) for path in (ROOT / "scripts").glob("[!_]*.*") if path.is_file()
    }
    assert [name for name in entries if not any(fnmatch.fnmatch(name, path) for path in listed)] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_nothing_is_left_to_fill_in(document: Path) -> None:
    assert not re.search(r"\b(TODO|TBD|FIXME|XXX)\b", document.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", ["README.md", "docs/data.md", "docs/evaluation_protocol.md", "docs/mindspore.md"]
)
def test_lines_are_short(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > MAX_LINE] == []


def test_the_figure_is_well_formed() -> None:
    root = ElementTree.parse(ROOT / "docs/architecture.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = " ".join("".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text"))
    for part in ("query encoder", "tokenizer", "product quantizer", "interaction scorer", "inverted index"):
        assert part in text


# ---- configuration keys


def known_keys() -> dict[str, object]:
    return {key.path: key.default for key in iter_keys()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_configuration_keys_in_the_text_are_known(document: Path) -> None:
    sections = "|".join(Config.model_fields)
    dotted = re.compile(rf"((?:{sections})(?:\.[a-z_]+)+)(?:: .*)?")
    matches = map(dotted.fullmatch, inline_code(document.read_text(encoding="utf-8")))
    named = [match[1] for match in matches if match]
    files = (".py", ".yaml", ".json", ".txt")
    assert [key for key in named if key not in known_keys() and not key.endswith(files)] == []


# ---- commands

LAUNCH_FLAGS = ("--workers", "--nodes", "--node_rank", "--master_addr", "--master_port", "--log_dir")


def entry_flags(argv: list[str]) -> list[str]:
    """The arguments of a shell script that it hands to the entry, without those of the launcher."""
    kept = list(argv)
    for flag in LAUNCH_FLAGS:
        while flag in kept:
            place = kept.index(flag)
            del kept[place : place + 2]
    return kept


@dataclass
class Reader:
    """Parses the commands of a page and remembers which runs and bundles they make.

    Attributes:
        directory: where stand-ins for run directories are written.
        runs: run directory as named on the page -> its configuration.
        bundles: bundle directories as named on the page.
        files: configuration as named on the page -> the file that a command printed.
    """

    directory: Path
    runs: dict[str, Config] = field(default_factory=dict)
    bundles: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)

    def read(self, command: str) -> None:
        """Raises SparcodeError or AssertionError when the command would be refused."""
        words = shlex.split(command)
        known: dict[str, Callable[[list[str]], None]] = {
            "train.py": self._train,
            "eval.py": self._eval,
            "export.py": self._export,
            "infer.py": self._infer,
            "update.py": self._update,
            "preprocess.py": self._preprocess,
            "scripts/run_standalone_train.sh": self._standalone_train,
            "scripts/run_distribute_train.sh": self._distribute_train,
            "scripts/run_eval.sh": lambda argv: self._eval(["--run_dir", *entry_flags(argv)]),
            "scripts/run_export.sh": lambda argv: self._export(
                ["--run_dir", argv[0], "--output", argv[1], *entry_flags(argv[2:])]
            ),
            "scripts/quickstart.sh": self._quickstart,
            "scripts/test.sh": lambda argv: assert_in_usage("scripts/test.sh", argv),
            "scripts/download_data.sh": self._download,
        }
        assert words[1] in known, f"{words[1]} is not a command of this project"
        known[words[1]](words[2:])

    def _preprocess(self, argv: list[str]) -> None:
        if ">" not in argv:
            assert_parsed(command_lines.parse_preprocess(argv))
            return
        place = argv.index(">")
        shop, name = str(write_shop(self.directory / "shop")), argv[place + 1]
        self.files[name] = str(self.directory / name)
        with Path(self.files[name]).open("w", encoding="utf-8") as printed, redirect_stdout(printed):
            preprocess.main([shop if word == "shop" else word for word in argv[:place]])

    def _train(self, argv: list[str]) -> None:
        parsed = command_lines.parse_train([self.files.get(word, word) for word in argv])
        name = str(parsed.output_dir)
        assert parsed.resume == (name in self.runs), f"{name}: a second run needs --resume, a first one none"
        assert self.runs.setdefault(name, parsed.config) == parsed.config

    def _standalone_train(self, argv: list[str]) -> None:
        config = argv[0]
        assert (ROOT / config).is_file(), config
        folder, stem = Path(config).parent.name, Path(config).stem
        default = [] if "--output_dir" in argv else ["--output_dir", f"runs/{folder}_{stem}"]
        self._train(["--config_path", config, *default, *argv[1:]])

    def _distribute_train(self, argv: list[str]) -> None:
        assert argv[0].isdigit()
        self._standalone_train(entry_flags(argv[1:]))

    def _eval(self, argv: list[str]) -> None:
        assert_parsed(command_lines.parse_eval(self._with_stand_in(argv)))

    def _export(self, argv: list[str]) -> None:
        parsed = command_lines.parse_export(self._with_stand_in(argv))
        assert parsed.config.model.name != "all_to_all"
        self.bundles.add(str(parsed.output))

    def _infer(self, argv: list[str]) -> None:
        parsed = command_lines.parse_infer(argv)
        assert str(parsed.bundle) in self.bundles, f"{parsed.bundle} was not exported before"

    def _update(self, argv: list[str]) -> None:
        parsed = command_lines.parse_update(argv)
        assert str(parsed.bundle) in self.bundles, f"{parsed.bundle} was not exported before"
        self.bundles.add(str(parsed.output))

    def _quickstart(self, argv: list[str]) -> None:
        assert_in_usage("scripts/quickstart.sh", argv)
        self.runs.update({run: load_config(ROOT / path) for run, path in QUICKSTART_RUNS.items()})
        self.bundles |= QUICKSTART_BUNDLES

    @staticmethod
    def _download(argv: list[str]) -> None:
        assert len(argv) == 2
        assert_in_usage("scripts/download_data.sh", argv[:1])

    def _with_stand_in(self, argv: list[str]) -> list[str]:
        """The arguments with the run directory replaced by one that holds the configuration alone."""
        place = argv.index("--run_dir") + 1 if "--run_dir" in argv else 0
        name = argv[place]
        assert name in self.runs, f"{name} was not trained before"
        run = self.directory / name
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.yaml").write_text(dump_config(self.runs[name]))
        return [*argv[:place], str(run), *argv[place + 1 :]]


def assert_parsed(parsed: object) -> None:
    assert parsed is not None


def assert_in_usage(script: str, words: list[str]) -> None:
    (usage,) = re.findall(r"^usage: bash (.*)$", (ROOT / script).read_text(encoding="utf-8"), re.MULTILINE)
    offered = re.findall(r"[\w-]+", usage)
    assert [word for word in words if word not in offered] == []


def commands(text: str) -> Iterator[str]:
    """Commands of the project in the bash blocks, continued lines joined."""
    for block in code_blocks(text, "bash"):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            if re.match(r"(python \w+\.py|bash )", line):
                yield line


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    monkeypatch.chdir(ROOT)
    return Reader(tmp_path)


def test_the_commands_of_the_readme_parse_in_order(reader: Reader) -> None:
    seen = list(commands(README.read_text(encoding="utf-8")))
    for command in seen:
        try:
            reader.read(command)
        except (SparcodeError, AssertionError) as error:
            pytest.fail(f"{command}\n{error}")
    for entry in (
        "preprocess.py",
        "train.py",
        "eval.py",
        "export.py",
        "infer.py",
        "update.py",
        "quickstart.sh",
        "test.sh",
    ):
        assert any(entry in command for command in seen), entry


@pytest.mark.parametrize(
    "command",
    [
        "python train.py --output_directory runs/x",
        "python train.py --output_dir runs/x --set model.no_such_key=1",
        "python train.py --output_dir runs/x --resume",
        "python eval.py --run_dir runs/absent",
        "python infer.py --bundle bundles/absent --input a.jsonl --output b.jsonl",
        "bash scripts/run_standalone_train.sh configs/absent.yaml",
        "bash scripts/run_distribute_train.sh configs/ml-1m/sparcode_dnn.yaml",
        "bash scripts/run_distribute_train.sh 2 configs/absent.yaml",
        "bash scripts/download_data.sh ml-2m raw",
        "bash scripts/quickstart.sh --tiny",
        "bash scripts/absent.sh",
    ],
)
def test_a_command_that_would_be_refused_is_found(reader: Reader, command: str) -> None:
    with pytest.raises((SparcodeError, AssertionError)):
        reader.read(command)


# ---- examples


def test_the_chinese_readme_has_the_commands_examples_and_figures_of_the_english_one() -> None:
    english, chinese = (page.read_text(encoding="utf-8") for page in (README, CHINESE))
    for language in ("bash", "json", "python", "text", "bibtex"):
        assert code_blocks(chinese, language) == code_blocks(english, language), language
    figures = [re.findall(r"\.\d{4}", page) for page in (english, chinese)]
    assert figures[0] == figures[1]
    headings = [re.findall(r"^## ", page, re.MULTILINE) for page in (english, chinese)]
    assert len(headings[0]) == len(headings[1])


def test_the_json_examples_are_json() -> None:
    (block,) = code_blocks(README.read_text(encoding="utf-8"), "json")
    query, answer = map(json.loads, block.splitlines())
    assert set(query) == {"query_id", "history", "features", "exclude", "allow"}
    assert set(answer) == {"query_id", "items"}


def test_the_index_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/index_format.md"
    (example,) = code_blocks(page.read_text(encoding="utf-8"), "python")
    exec(compile(example, page.name, "exec"), {})
    assert (tmp_path / "index" / "manifest.json").is_file()


def test_the_retriever_example_calls_what_exists() -> None:
    from sparcode.serving import Retriever

    blocks = code_blocks(README.read_text(encoding="utf-8"), "python")
    (example,) = [block for block in blocks if "Retriever" in block]
    compile(example, "README.md", "exec")
    assert "Retriever.load(" in example
    assert "retriever.recommend([" in example
    inspect.signature(Retriever.load).bind("bundles/ml-1m")
    inspect.signature(Retriever.recommend).bind(None, [{"history": ["1193"]}], k=50, exclude_seen=True)

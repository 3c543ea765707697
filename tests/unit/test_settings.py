"""Defaults < file < environment < --set; each mistake is one line that names key, value, limit and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.config import Settings
from worker.describe import LISTS, example, keys, main, reference, sections
from worker.errors import ConfigError
from worker.settings import load, redacted

ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    """A configuration file."""
    path = folder / "fusion.toml"
    path.write_text(text)
    return path


def test_later_places_win_and_are_told(tmp_path: Path) -> None:
    """The same key in every place: --set wins, and each key's origin is known."""
    file = written(tmp_path, '[kafka]\ngroup_id = "file"\n[http]\nport = 1\n[model]\nmax_batch = 4\n')
    environ = {"FUSION__KAFKA__GROUP_ID": "environment", "FUSION__HTTP__PORT": "2", "PATH": "ignored"}
    loaded = load(file, ["kafka.group_id=set"], environ)
    assert (loaded.settings.kafka.group_id, loaded.settings.http.port, loaded.settings.model.max_batch) == ("set", 2, 4)
    assert loaded.origin["kafka.group_id"] == "--set"
    assert loaded.origin["http.port"] == "environment FUSION__HTTP__PORT"
    assert loaded.origin["model.max_batch"] == str(file)
    assert loaded.origin["model.max_delay"] == "default"


def test_nothing_given_is_the_contract() -> None:
    """The defaults are those of the settings classes."""
    assert load(None, [], {}).settings == Settings()


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    """The value is read less its line end; what is printed hides it."""
    (tmp_path / "password").write_text("s3cret\n")
    environ = {
        "FUSION__KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
        "FUSION__KAFKA__SASL_MECHANISM": "PLAIN",
        "FUSION__KAFKA__SASL_PLAIN_USERNAME": "reader",
        "FUSION__KAFKA__SASL_PLAIN_PASSWORD_FILE": str(tmp_path / "password"),
        "FUSION__REDIS__URL": "redis://user:s3cret@host:6379/0",
    }
    loaded = load(None, ["redis.password=s3cret"], environ)
    assert loaded.settings.kafka.sasl_plain_password == "s3cret"
    assert loaded.settings.redis.password == "s3cret"
    told = redacted(loaded.settings)
    assert not any("s3cret" in value for value in told.values())
    assert told["redis.url"] == '"redis://user:***@host:6379/0"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[kafka]\nbootstrap_server = "a:1"', r"kafka.bootstrap_server \(.*\): unknown key; did you mean kafka.boot"),
        ("[kafak]\nx = 1", r"kafak.*unknown key"),
        ("[streams.texts]\ntopic = 't'\nmodality = 'text'\nrole = 'anchor'\nlatness = '1s'", r"texts.lateness"),
        ("[http]\nport = 70000", r"http.port = 70000 \(.*\): must be a whole number, at least 0, at most 65535"),
        ('[model]\nmax_delay = "5"', r"model.max_delay = .*must be a duration such as 500ms"),
        ("[model]\nmax_batch = 0", r"model.max_batch = 0 .*at least 1"),
        ('[model]\nprecision = "fp8"', r"must be one of auto, fp32, bf16, int8"),
        ('[limits]\nmax_frame_bytes = "8 quintals"', r"limits.max_frame_bytes.*must be a size such as"),
        ("[streams.a]\ntopic = 'a'\nmodality = 'text'\nrole = 'context'", r"exactly one stream has role"),
        ("kafka = 1", r"kafka.*must be a table"),
        ("[kafka", r"not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    """Key, value, what it may be, and the nearest known key, in one line."""
    with pytest.raises(ConfigError, match=message) as caught:
        load(written(tmp_path, text), [], {})
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_mistakes_elsewhere_are_named(tmp_path: Path) -> None:
    """A missing file, an unknown variable, a bad --set, a secret's file that is not there, one key twice."""
    for file, overrides, environ, message in (
        (tmp_path / "no.toml", [], {}, r"no.toml: no such file"),
        (None, ["kafka.group_id"], {}, r"--set kafka.group_id: must be section.key=value"),
        (None, ["kafka.group=x"], {}, r"kafka.group \(--set\): unknown key; did you mean kafka.group_id"),
        (None, [], {"FUSION__KAFKA__GROUPID": "x"}, r"FUSION__KAFKA__GROUPID.*did you mean kafka.group_id"),
        (None, [], {"FUSION__REDIS__PASSWORD_FILE": "/nowhere"}, r"'/nowhere': no such file"),
        (
            None, [], {"FUSION__HTTP__PORT": "1", "FUSION__HTTP__PORT_FILE": str(written(tmp_path, "2"))},
            r"http.port is given twice",
        ),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            load(file, overrides, environ)


def test_values_need_no_quotes_outside_the_file() -> None:
    """Text, numbers, durations and truth values as they are typed in a shell."""
    given = ["kafka.group_id=7", "streams.frames.max_wait=1s", "output.embedding=true", "limits.dead_letter_ratio=0"]
    settings = load(None, given, {}).settings
    assert settings.kafka.group_id == "7"
    assert settings.streams["frames"].max_wait.total_seconds() == 1
    assert settings.output.embedding is True
    assert settings.limits.dead_letter_ratio == 0


def test_a_file_that_names_streams_names_all(tmp_path: Path) -> None:
    """The two default streams are gone once a file names its own."""
    text = "[streams.a]\ntopic = 'a'\nmodality = 'text'\nrole = 'anchor'\n"
    assert list(load(written(tmp_path, text), [], {}).settings.streams) == ["a"]


def test_no_event_may_be_further_ahead_than_a_horizon(tmp_path: Path) -> None:
    """A clock further ahead would push right events out; by default it is less, asked for it is refused."""
    assert load(None, [], {}).settings.max_ahead.total_seconds() == 30
    assert load(None, ["streams.frames.horizon=5s"], {}).settings.max_ahead.total_seconds() == 5
    assert load(None, ["streams.frames.horizon=5m"], {}).settings.max_ahead.total_seconds() == 30
    said = r"limits.max_ahead \(31s\) must be at most the smallest horizon \(30s\)"
    with pytest.raises(ConfigError, match=said):
        load(None, ["limits.max_ahead=31s"], {})


def test_the_reference_and_the_example_are_current(tmp_path: Path) -> None:
    """docs/configuration.md and deploy/config.example.toml are what `python -m worker.describe` writes, and load."""
    assert (ROOT / "docs/configuration.md").read_text() == reference()
    assert (ROOT / "deploy/config.example.toml").read_text() == example()
    assert load(ROOT / "deploy/config.example.toml", [], {}).settings == Settings()


@pytest.mark.parametrize("given", ["referense", "", "reference example", "--help"])
def test_what_cannot_be_described_is_refused(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line with what there is, and exit 2."""
    assert main(given.split()) == 2
    assert capsys.readouterr() == ("", f"python -m worker.describe: must be reference or example, not {given!r}\n")


def test_every_key_has_a_description() -> None:
    """No key is documented by its name alone."""
    assert [name for name, info in keys(["frames"]).items() if not info.description] == []
    assert {name.partition(".")[0] for name in sections()} | set(LISTS) == set(Settings.model_fields)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[http]\nport = 1\n".encode("utf-16"), "is UTF-16 or no text; save it as UTF-8"),
        ("[http]\nport = 1\n".encode("utf-16-be"), "is UTF-16 or no text"),
        (b"[http]\nport = 1 # \xff\n", r"is not UTF-8 \(byte 18\)"),
        (b"[http]\nport = true\n", "http.port = true .*must be a whole number.*true is a truth value"),
        (b"[limits]\ndead_letter_ratio = false\n", "dead_letter_ratio = false .*must be a number"),
        (b"[HTTP]\nPORT = 1\n", "did you mean http.port?"),
        (b"[http]\nport = 65536\n", "at least 0, at most 65535"),
        (b"[http]\nport = -1\n", "at least 0, at most 65535"),
        (b'[kafka]\nbootstrap_servers = "h:65536"\n', "port 65536 is not from 1 to 65535"),
        (b'[kafka]\nbootstrap_servers = "h:0"\n', "port 0 is not from 1 to 65535"),
    ],
)
def test_a_file_that_an_editor_or_a_hand_has_spoiled_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    """Encodings, truth where a number belongs, capitals, ports."""
    (tmp_path / "fusion.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=said) as caught:
        load(tmp_path / "fusion.toml", [], {})
    assert "fusion.toml" in str(caught.value)


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    """As Windows' editors write it, with their line ends; a folder is named as one."""
    (tmp_path / "fusion.toml").write_bytes(b"\xef\xbb\xbf[http]\r\nport = 7\r\n")
    assert load(tmp_path / "fusion.toml", [], {}).settings.http.port == 7
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        load(tmp_path, [], {})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"FUSION__STREAMS__FRAMS__TOPIC": "x"}, r"FRAMS__TOPIC\): there is no stream 'frams'; did you mean frames\?"),
        (
            {"FUSION__STREAMS__FRAMES_0__MAX_WAIT": "1s"},
            "mean frames.* needs also modality, role, topic",
        ),
        ({"FUSION__STREAMS____TOPIC": "x"}, "there is no stream ''; streams are texts, frames"),
        ({"FUSION__STREAMS__Q__ROLE": "context", "FUSION__STREAMS__Q__TOPIC": "q"}, "a new one needs also modality$"),
    ],
)
def test_a_misspelt_stream_is_told_with_its_variable(given: dict[str, str], said: str) -> None:
    """It begins no stream of its own, from the environment or --set; one that is given whole does."""
    with pytest.raises(ConfigError, match=said):
        load(None, [], given)
    pairs = [f"{key.removeprefix('FUSION__').lower().replace('__', '.')}={value}" for key, value in given.items()]
    with pytest.raises(ConfigError, match=r"\(--set\): there is no stream"):
        load(None, pairs, {})
    new = {"TOPIC": "q", "ROLE": "context", "MODALITY": "sensor"}
    loaded = load(None, [], {f"FUSION__STREAMS__Q__{key}": value for key, value in new.items()})
    assert list(loaded.settings.streams) == ["texts", "frames", "q"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty; write the value there"),
        (b"\n", "is empty"),
        (b"\r\n", "is empty"),
        (b"pw\nx", "has more than one line"),
        (b"pw\n\n", "has more than one line"),
        ("pw".encode("utf-16"), "is UTF-16 or no text"),
        (b"p\0w", "is UTF-16 or no text"),
    ],
)
def test_a_secrets_file_that_holds_no_secret_is_an_error(tmp_path: Path, data: bytes, said: str) -> None:
    """Empty, two lines, another encoding; its path is told, what it holds is not."""
    (tmp_path / "secret").write_bytes(data)
    with pytest.raises(ConfigError, match=f"secret': {said}"):
        load(None, [], {"FUSION__REDIS__PASSWORD_FILE": str(tmp_path / "secret")})


@pytest.mark.parametrize("data", [b"pw", b"pw\n", b"pw\r\n", b"\xef\xbb\xbfpw\r\n"])
def test_a_secrets_file_is_read_less_its_line_end(tmp_path: Path, data: bytes) -> None:
    """Of either kind, and less a byte order mark; inner and outer blanks stay."""
    (tmp_path / "secret").write_bytes(data)
    environ = {"FUSION__REDIS__PASSWORD_FILE": str(tmp_path / "secret")}
    assert load(None, [], environ).settings.redis.password == "pw"
    (tmp_path / "secret").write_bytes(data.replace(b"pw", b" p w "))
    assert load(None, [], environ).settings.redis.password == " p w "


def test_a_secret_where_its_file_should_be_named_is_not_told() -> None:
    """FUSION__REDIS__PASSWORD_FILE=hunter2: what is no absolute path may be the secret itself; nothing; a folder."""
    for given, said in (
        ("hunter2", "no absolute path"),
        ("", "names no file"),
        ("/", "is a folder"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            load(None, [], {"FUSION__REDIS__PASSWORD_FILE": given})
        assert "hunter2" not in str(caught.value)


RULE = '[[rules]]\nwhen = "score < 0.1"\nthen = "calm"\nreason = "low"\n'


def test_rules_in_their_order(tmp_path: Path) -> None:
    """As many tables as there are, by name or place; also by --set."""
    loaded = load(written(tmp_path, RULE + RULE + 'name = "last"\n'), [], {})
    assert loaded.settings.rule_names == ["rule-1", "last"]
    assert redacted(loaded.settings)["rules"].startswith('[{"when": "score < 0.1", "then": "calm"')
    inline = 'rules=[{when="score < 1", then="calm", reason="r"}]'
    assert load(None, [inline], {}).settings.rules[0].when == "score < 1"
    assert load(None, [], {}).settings.rules == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            RULE + RULE.replace("reason", "reasons"),
            "rules, number 2 ({file}): reason: must be given: a text",
        ),
        (
            RULE + "label = 1\n",
            "rules, number 1 ({file}): label: unknown key; a table of [[rules]] has name",
        ),
        (RULE.replace("score < 0.1", "x" * 1001), "when: must be an expression of 1 to 1,000 characters"),
        (RULE.replace("score < 0.1", ""), "when: must be an expression of 1 to 1,000 characters"),
        (RULE + 'name = "A b"\n', "name: must be at most 40 of a-z, 0-9, _ and -"),
        (RULE * 65, "a list of at most 64 tables [[rules]]"),
        ("[rules]\nwhen = 1\n", "rules ({file}): is a list: write [[rules]], once for each"),
        ('rules = "no"\n', 'rules = "no" ({file}): must be a list of at most 64 tables [[rules]]'),
        ("rules = [1]\n", "rules, number 1 ({file}): must be a table with name, when, then, reason"),
        (RULE + 'name = "rule-2"\n' + RULE, "rule 2 'rule-2': a rule before it has this name"),
        (RULE.replace("calm", "review"), "rule 1 'rule-1': then = 'review' asks a person; set review.topic"),
    ],
)
def test_what_is_wrong_with_a_rule(tmp_path: Path, text: str, told: str) -> None:
    """Its number, the key and what it may be."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(file, [], {})
    assert told.replace("{file}", str(file)) in str(error.value)
    assert "\n" not in str(error.value)

"""Judges settings by docs/tokengate.schema.json: files that the gateway takes, and single values.

`settings.py files`: every settings file of the repository, and every block of TOML in its pages.
`settings.py values CASES`: a file of JSON lines {"key": "listen.workers", "value": 1, "taken": true}; what the schema says otherwise than
the gateway is printed, line by line.
"""

import datetime
import json
import pathlib
import re
import sys
import tomllib

import jsonschema

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "docs/tokengate.schema.json").read_text())
# Manifests of other tools.
OTHERS = {"Cargo.toml", "pyproject.toml", "rustfmt.toml", "clippy.toml", "deny.toml", "nextest.toml"}
IGNORED = {"node_modules", "venv", "target", ".git"}


def plain(value):
    """As JSON has it: TOML's dates are texts."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value


def sources():
    reference = (ROOT / "config/tokengate.toml").read_text()
    switched_on = re.sub(r"(?m)^#(?=[a-z\[])", "", reference)
    yield "the reference with its examples switched on", switched_on.replace("…", "0123456789abcdef" * 2)
    for folder in ["config", "contrib", "docs", "examples", "tests", "clients", "benches", "src", "."]:
        base = ROOT / folder
        for path in sorted(base.glob("*") if folder == "." else base.rglob("*")):
            inner = path.relative_to(ROOT)
            if not path.is_file() or IGNORED & set(inner.parts) or path.name in OTHERS:
                continue
            if path.suffix == ".toml" and "fuzz" not in inner.parts:
                yield str(inner), path.read_text()
            if path.suffix == ".md":
                for number, block in enumerate(re.findall(r"^ *```toml\n(.*?)^ *```", path.read_text(), re.S | re.M)):
                    yield f"{inner}, block {number + 1}", block


def files():
    validator = jsonschema.Draft7Validator(SCHEMA)
    seen = 0
    for name, text in sources():
        seen += 1
        for error in validator.iter_errors(plain(tomllib.loads(text))):
            print(f"{name}: {error.json_path}: {error.message[:200]}")
    print(f"{seen} files and blocks", file=sys.stderr)


def schema_of(key):
    """The part of the schema that judges one key."""
    schema = SCHEMA
    for name in key.split("."):
        if name == "NAME":
            schema = schema["additionalProperties"]
            continue
        schema = schema["properties"][name.removesuffix("[]")]
        if name.endswith("[]"):
            schema = schema["items"]
    return schema


def values(cases):
    validators = {}
    for line in pathlib.Path(cases).read_text().splitlines():
        case = json.loads(line)
        key = case["key"]
        if key not in validators:
            validators[key] = jsonschema.Draft7Validator(schema_of(key))
        if validators[key].is_valid(case["value"]) != case["taken"]:
            print(line)


jsonschema.Draft7Validator.check_schema(SCHEMA)
if sys.argv[1] == "files":
    files()
else:
    values(sys.argv[2])

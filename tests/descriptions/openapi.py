"""Fails unless each file that is named is a sound description by OpenAPI 3.1."""

import json
import pathlib
import sys

from openapi_spec_validator import OpenAPIV31SpecValidator

for name in sys.argv[1:]:
    document = json.loads(pathlib.Path(name).read_text())
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        print(f"{name}: {error.message[:300]}")

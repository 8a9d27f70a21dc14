"""What an OAuth client of other people's making (Authlib) gets from the gateway. Prints one JSON object."""

import json
import sys
from urllib.parse import urlsplit

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

gateway, client_id, secret, refresh_token = sys.argv[1:5]

document = requests.get(gateway + "/.well-known/oauth-authorization-server", timeout=10).json()
metadata = AuthorizationServerMetadata(document)
for key in metadata.REGISTRY_KEYS:
    # There is no authorization endpoint, and so no response type.
    if key not in ("authorization_endpoint", "response_types_supported"):
        getattr(metadata, "validate_" + key)()
# The issuer is a name: the gateway is elsewhere in a test.
token_endpoint = gateway + urlsplit(document["token_endpoint"]).path

told = {"grants": document["grant_types_supported"], "methods": document["token_endpoint_auth_methods_supported"]}
for method in ("client_secret_basic", "client_secret_post"):
    session = OAuth2Session(client_id, secret, token_endpoint_auth_method=method, scope="read")
    token = session.fetch_token(token_endpoint, grant_type="client_credentials")
    seen = session.get(gateway + "/api/me", timeout=10)
    told[method] = {
        "token_type": token["token_type"],
        "scope": token["scope"],
        "has_refresh_token": "refresh_token" in token,
        "status": seen.status_code,
        "seen": seen.json(),
    }

public = OAuth2Session("an app", token_endpoint_auth_method="none", token={"refresh_token": refresh_token, "access_token": "x"})
refreshed = public.refresh_token(token_endpoint)
told["refreshed"] = requests.get(
    gateway + "/api/me", headers={"authorization": "Bearer " + refreshed["access_token"]}, timeout=10
).status_code

try:
    OAuth2Session(client_id, secret + "x").fetch_token(token_endpoint, grant_type="client_credentials")
except Exception as error:  # Authlib has a class of its own for each error of the RFC.
    told["refused"] = getattr(error, "error", repr(error))

print(json.dumps(told))

"""Gets a token with Authlib, told only where the shop is, asks what it is and gives it back."""

import json
import sys
import time

import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc.jwk import ECKey

issuer, client_id, method, credential = sys.argv[1:]
found = requests.get(f"{issuer}/.well-known/openid-configuration").json()
assert found["issuer"] == issuer, found
assert method in found["token_endpoint_auth_methods_supported"], found


def session():
    methods = {
        "token_endpoint_auth_method": method,
        "revocation_endpoint_auth_method": method,
    }
    if method != "private_key_jwt":
        return OAuth2Session(client_id, credential, **methods)
    key = ECKey.import_key(json.loads(credential))
    one = OAuth2Session(client_id, key, **methods)
    # Its proofs are good for an hour unless somebody says otherwise; the shop takes five minutes.
    claims = {"exp": int(time.time()) + 60}
    one.register_client_auth_method(
        PrivateKeyJWT(found["token_endpoint"], claims=claims, alg="ES256")
    )
    return one


token = session().fetch_token(
    found["token_endpoint"], grant_type="client_credentials", scope="stock:write"
)
said = session().introspect_token(
    found["introspection_endpoint"], token=token["access_token"]
).json()
assert said["active"] and said["sub"] == client_id, said
revoked = session().revoke_token(
    found["revocation_endpoint"], token=token["access_token"]
)
assert revoked.status_code == 200, revoked.text
said = session().introspect_token(
    found["introspection_endpoint"], token=token["access_token"]
).json()
assert said == {"active": False}, said
try:
    session().fetch_token(
        found["token_endpoint"], grant_type="client_credentials", scope="ops:write"
    )
    error = None
except Exception as refusal:
    error = refusal.error
print(json.dumps({"scope": token["scope"], "error": error}))

"""Lets somebody sign in with Authlib, told only where the shop is; prints where their browser is to go, reads where it was sent
back to, and prints who they are. What was used once is refused when it is used again."""

import json
import os
import sys

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

import requests
from authlib.common.security import generate_token
from authlib.integrations.requests_client import OAuth2Session
from joserfc import jwt
from joserfc.jwk import KeySet

issuer, client_id, secret, redirect_uri = sys.argv[1:]
found = requests.get(f"{issuer}/.well-known/openid-configuration").json()
assert found["issuer"] == issuer, found
session = OAuth2Session(
    client_id,
    secret,
    scope="openid profile email orders:read",
    redirect_uri=redirect_uri,
    code_challenge_method="S256",
)
verifier, nonce = generate_token(48), generate_token(20)
address, state = session.create_authorization_url(
    found["authorization_endpoint"], code_verifier=verifier, nonce=nonce
)
print(address, flush=True)
back = sys.stdin.readline().strip()


def exchange():
    return session.fetch_token(
        found["token_endpoint"], authorization_response=back, state=state, code_verifier=verifier
    )


def refresh(token):
    return session.refresh_token(found["token_endpoint"], refresh_token=token)


def refused(attempt):
    try:
        attempt()
        return None
    except Exception as refusal:
        return getattr(refusal, "error", str(refusal))


first = exchange()
keys = KeySet.import_key_set(requests.get(found["jwks_uri"]).json())
claims = jwt.decode(first["id_token"], keys, algorithms=["ES256"]).claims
assert claims["iss"] == issuer and claims["aud"] == client_id and claims["nonce"] == nonce, claims
info = session.get(found["userinfo_endpoint"]).json()
assert info["sub"] == claims["sub"], info
second = refresh(first["refresh_token"])
third = refresh(second["refresh_token"])
reused = refused(lambda: refresh(first["refresh_token"]))
ended = refused(lambda: refresh(third["refresh_token"]))
replayed = refused(exchange)
print(
    json.dumps(
        {
            "name": claims["name"],
            "email": info["email"],
            "scope": third["scope"],
            "reused": reused,
            "ended": ended,
            "replayed": replayed,
        }
    )
)

"""Passwords, tokens and codes: JWTs with a shared secret, as the FastAPI tutorial makes them."""

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import jwt
import pyotp
from fastapi import Depends, HTTPException, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pwdlib import PasswordHash
from sqlalchemy import update

from .database import Database, User

SECRET_KEY = os.environ["SECRET_KEY"]
ALGORITHM = "HS256"
ISSUER = "notes"
ACCESS_TOKEN_LIFETIME = timedelta(minutes=30)
MFA_TOKEN_LIFETIME = timedelta(minutes=5)
TOTP_STEP_SECONDS = 30

passwords = PasswordHash.recommended()
# Checked where there is no user, so that the time of an answer does not tell who has an account.
DUMMY_HASH = passwords.hash("nobody's password")


def unauthorized(detail: str) -> HTTPException:
    return HTTPException(status.HTTP_401_UNAUTHORIZED, detail, {"WWW-Authenticate": "Bearer"})


def make_token(user: User, audience: str, lifetime: timedelta) -> str:
    claims = {"iss": ISSUER, "aud": audience, "sub": str(user.id), "role": user.role, "exp": datetime.now(UTC) + lifetime}
    return jwt.encode(claims, SECRET_KEY, ALGORITHM)


def read_token(token: str, audience: str) -> dict:
    try:
        return jwt.decode(token, SECRET_KEY, [ALGORITHM], audience=audience, issuer=ISSUER)
    except jwt.InvalidTokenError:
        raise unauthorized("Invalid or expired token") from None


def access_token(user: User) -> str:
    return make_token(user, "notes", ACCESS_TOKEN_LIFETIME)


def mfa_token(user: User) -> str:
    return make_token(user, "notes/mfa", MFA_TOKEN_LIFETIME)


def user_of_mfa_token(token: str, database: Database) -> User:
    user = database.get(User, int(read_token(token, "notes/mfa")["sub"]))
    if user is None:
        raise unauthorized("Invalid or expired token")
    return user


def take_code(user: User, code: str, database: Database) -> bool:
    """Whether the code is one of now, or of one step before or after, and later than the last one that was taken."""
    if user.totp_secret is None:
        return False
    totp, now = pyotp.TOTP(user.totp_secret), int(time.time()) // TOTP_STEP_SECONDS
    for step in range(max(now - 1, user.totp_last_step + 1), now + 2):
        if pyotp.utils.strings_equal(totp.generate_otp(step), code):
            taken = update(User).where(User.id == user.id, User.totp_last_step < step).values(totp_last_step=step)
            return database.execute(taken).rowcount == 1
    return False


bearer = HTTPBearer(auto_error=False)


def get_current_user(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)], database: Database) -> User:
    if credentials is None:
        raise unauthorized("Not authenticated")
    user = database.get(User, int(read_token(credentials.credentials, "notes")["sub"]))
    if user is None:
        raise unauthorized("Invalid or expired token")
    return user


CurrentUser = Annotated[User, Depends(get_current_user)]

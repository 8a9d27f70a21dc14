from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pyotp
from fastapi import FastAPI, HTTPException, status
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from .database import Base, Database, Note, User, engine
from .security import (
    DUMMY_HASH,
    CurrentUser,
    access_token,
    mfa_token,
    passwords,
    take_code,
    unauthorized,
    user_of_mfa_token,
)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    Base.metadata.create_all(engine)
    yield


app = FastAPI(title="Notes", lifespan=lifespan)

Email = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=254, pattern=r"^\S+@\S+$")]
# A bound, since hashing takes time and memory.
Password = Annotated[str, Field(max_length=256)]


class Credentials(BaseModel):
    email: Email
    password: Password


class NewUser(Credentials):
    password: Annotated[str, Field(min_length=8, max_length=256)]


class Code(BaseModel):
    code: Annotated[str, Field(max_length=16)]


class SecondFactor(Code):
    mfaToken: str


class NewNote(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=1000)]


def public(user: User) -> dict:
    return {"id": user.id, "email": user.email, "role": user.role}


def signed_in(user: User) -> dict:
    return {"token": access_token(user), "user": public(user)}


@app.post("/register", status_code=status.HTTP_201_CREATED)
def register(new: NewUser, database: Database) -> dict:
    user = User(email=new.email, password_hash=passwords.hash(new.password))
    database.add(user)
    try:
        database.commit()
    except IntegrityError:
        raise HTTPException(status.HTTP_409_CONFLICT, "Email already registered") from None
    return signed_in(user)


@app.post("/login")
def login(credentials: Credentials, database: Database) -> dict:
    user = database.scalar(select(User).where(User.email == credentials.email))
    right = passwords.verify(credentials.password, user.password_hash if user else DUMMY_HASH)
    if user is None or not right:
        raise unauthorized("Incorrect email or password")
    if user.totp_confirmed:
        return {"mfaRequired": True, "mfaToken": mfa_token(user)}
    return signed_in(user)


@app.post("/login/2fa")
def login_with_code(factor: SecondFactor, database: Database) -> dict:
    user = user_of_mfa_token(factor.mfaToken, database)
    if not user.totp_confirmed or not take_code(user, factor.code, database):
        raise unauthorized("Incorrect code")
    database.commit()
    return signed_in(user)


@app.get("/me")
def me(user: CurrentUser) -> dict:
    return {"user": public(user)}


@app.post("/me/2fa")
def begin_second_factor(user: CurrentUser, database: Database) -> dict:
    if user.totp_confirmed:
        raise HTTPException(status.HTTP_409_CONFLICT, "There is a second factor already")
    user.totp_secret = pyotp.random_base32()
    database.commit()
    uri = pyotp.TOTP(user.totp_secret).provisioning_uri(name=user.email, issuer_name="Notes")
    return {"secret": user.totp_secret, "uri": uri}


@app.post("/me/2fa/confirm")
def confirm_second_factor(confirmation: Code, user: CurrentUser, database: Database) -> dict:
    if not take_code(user, confirmation.code, database):
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "Incorrect code")
    user.totp_confirmed = True
    database.commit()
    return {"user": public(user)}


@app.get("/notes")
def notes(user: CurrentUser, database: Database) -> dict:
    rows = database.scalars(select(Note).where(Note.user_id == user.id).order_by(Note.id))
    return {"notes": [{"id": note.id, "text": note.text} for note in rows]}


@app.post("/notes", status_code=status.HTTP_201_CREATED)
def add_note(new: NewNote, user: CurrentUser, database: Database) -> dict:
    note = Note(user_id=user.id, text=new.text)
    database.add(note)
    database.commit()
    return {"id": note.id, "text": note.text}


@app.get("/admin/users")
def users(user: CurrentUser, database: Database) -> dict:
    if user.role != "admin":
        raise HTTPException(status.HTTP_403_FORBIDDEN, "Not an administrator")
    return {"users": [public(row) for row in database.scalars(select(User).order_by(User.id).limit(100))]}

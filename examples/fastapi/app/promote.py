"""python -m app.promote EMAIL: makes a user an administrator."""

import sys

from sqlalchemy import update
from sqlalchemy.orm import Session

from .database import User, engine

with Session(engine) as session:
    changed = session.execute(update(User).where(User.email == sys.argv[1].lower()).values(role="admin")).rowcount
    session.commit()
sys.exit(None if changed else f"no user {sys.argv[1]}")

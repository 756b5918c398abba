"""The article's async design on this project's tables: FastAPI, asyncpg, joinedload, pydantic.

Everything that the article leaves at its default is at its default here: one uvicorn worker, and the standard
SQLAlchemy pool, FastAPI serialisation and Python garbage collector.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from fastapi import Depends, FastAPI
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, ForeignKey, Table, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship


class Base(DeclarativeBase):
    pass


book_author = Table(
    "book_author",
    Base.metadata,
    Column("book_id", ForeignKey("book.id"), primary_key=True),
    Column("position", primary_key=True),
    Column("author_id", ForeignKey("author.id")),
)
book_genre = Table(
    "book_genre",
    Base.metadata,
    Column("book_id", ForeignKey("book.id"), primary_key=True),
    Column("genre_id", ForeignKey("genre.id"), primary_key=True),
)


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Genre(Base):
    __tablename__ = "genre"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Book(Base):
    __tablename__ = "book"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    isbn13: Mapped[str | None]
    publication_year: Mapped[int | None]
    language: Mapped[str | None]
    authors: Mapped[list[Author]] = relationship(secondary=book_author, order_by=book_author.c.position)
    genres: Mapped[list[Genre]] = relationship(secondary=book_genre, order_by=Genre.id)


class Named(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    name: str


class BookRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: int
    title: str
    isbn13: str | None
    publication_year: int | None
    language: str | None
    authors: list[Named]
    genres: list[Named]


engine = create_async_engine(os.environ["ARTICLE_DATABASE_URL"])
sessions = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with sessions() as session:
        yield session


@app.get("/books", response_model=list[BookRead])
async def list_books(limit: int = 100, session: AsyncSession = Depends(get_session)) -> list[Book]:  # noqa: B008 - FastAPI's convention
    result = await session.execute(
        select(Book).options(joinedload(Book.authors), joinedload(Book.genres)).order_by(Book.id).limit(limit)
    )
    return list(result.unique().scalars().all())

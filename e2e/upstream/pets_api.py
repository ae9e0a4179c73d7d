"""A REST API of pets, as FastAPI makes it, with the OpenAPI document that FastAPI writes of it (/openapi.json).

--key KEY: each request has to have it, in X-API-Key. What is called, the log says.
"""

import enum
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Query
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field

from _serve import Log, arguments, listen, serve


class Kind(enum.StrEnum):
    cat = "cat"
    dog = "dog"


class NewPet(BaseModel):
    name: str = Field(min_length=1, max_length=40)
    kind: Kind = Kind.cat
    tags: list[str] = []
    mother: "NewPet | None" = None


class Pet(NewPet):
    id: int


def build(key: str | None) -> FastAPI:
    header = APIKeyHeader(name="X-API-Key", auto_error=False)

    def known(given: Annotated[str | None, Depends(header)]):
        if key and given != key:
            raise HTTPException(401, "no such key")

    app = FastAPI(title="Pets", version="1.0.0", dependencies=[Depends(known)],
                  generate_unique_id_function=lambda route: route.name)
    pets = {7: Pet(id=7, name="Rex", kind=Kind.dog)}

    @app.get("/pets")
    def list_pets(limit: Annotated[int, Query(ge=1, le=100)] = 10, kind: Kind | None = None,
                  tag: Annotated[list[str] | None, Query()] = None,
                  x_trace: Annotated[str | None, Header()] = None) -> list[Pet]:
        """Lists pets."""
        del x_trace
        found = [pet for pet in pets.values() if kind in (None, pet.kind) and set(tag or []) <= set(pet.tags)]
        return found[:limit]

    @app.post("/pets", status_code=201)
    def add_pet(pet: NewPet) -> Pet:
        """Adds a pet."""
        added = Pet(id=max(pets) + 1, **pet.model_dump())
        pets[added.id] = added
        return added

    @app.get("/pets/by-name/{name}")
    def find_pet(name: str) -> Pet:
        """Finds a pet by its name."""
        for pet in pets.values():
            if pet.name == name:
                return pet
        raise HTTPException(404, "no such pet")

    @app.get("/pets/{pet_id}")
    def get_pet(pet_id: int) -> Pet:
        """Gets a pet."""
        if pet_id not in pets:
            raise HTTPException(404, "no such pet")
        return pets[pet_id]

    @app.delete("/pets/{pet_id}", status_code=204)
    def delete_pet(pet_id: int) -> None:
        """Gives a pet away."""
        pets.pop(pet_id, None)

    @app.delete("/pets", status_code=204)
    def delete_all() -> None:
        """Gives all pets away."""
        pets.clear()

    return app


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--key", help="the key that a request has to have")
    args = parser.parse_args()
    serve(build(args.key), listen(args.port), Log(args.log))


if __name__ == "__main__":
    main()

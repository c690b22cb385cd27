"""The owner's account and the workspace in which annotators start."""

from __future__ import annotations

from typing import Any


async def ensure(owner: dict[str, Any], workspace: str) -> None:
    """Make the owner's account what the credentials say, and the workspace, where they are not so already."""
    from argilla_server.contexts import accounts
    from argilla_server.database import AsyncSessionLocal, async_engine
    from argilla_server.enums import UserRole
    from argilla_server.models import User, Workspace

    async with AsyncSessionLocal() as session:
        if await Workspace.get_by(session, name=workspace) is None:
            await Workspace.create(session, name=workspace)
        user = await User.get_by(session, username=owner["name"])
        if user is None:
            attributes = {"username": owner["name"], "first_name": owner["name"], "last_name": None,
                          "role": UserRole.owner, "password": owner["password"]}  # fmt: skip
            user = await accounts.create_user(session, attributes)
        elif user.api_key != owner["api_key"]:  # new credentials were drawn: whoever holds the folder is the owner
            await accounts.update_user(session, user, {"password": owner["password"]})
        if user.api_key != owner["api_key"]:
            await user.update(session, api_key=owner["api_key"])
    # its connections belong to this event loop, and the server runs another
    await async_engine.dispose()

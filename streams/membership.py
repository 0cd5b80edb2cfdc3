"""A member of the consumer group that no answer to a late question throws out.

A broker answers the requests of one connection in their order, and the answer to JoinGroup takes until all members have
joined. What is committed meanwhile waits behind it and is refused afterwards, as of a generation that is over. aiokafka
takes this for the end of the membership it has just got, joins as a new member, and the group waits for the old one
until its session is over. With a commit a second that goes on and on: for up to a minute nobody counts.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import RebalanceInProgressError
from aiokafka.protocol.commit import OffsetCommitRequest

#: As whom (generation, member id) the commit was made whose answer is being looked at.
_COMMITTED_AS: ContextVar[tuple[int, str] | None] = ContextVar("_COMMITTED_AS", default=None)


class Membership(GroupCoordinator):  # type: ignore[misc]
    """aiokafka's coordinator that commits only as the member that it is."""

    joining = False

    async def _do_rejoin_group(self, subscription: Any) -> bool:
        self.joining = True
        try:
            return bool(await super()._do_rejoin_group(subscription))
        finally:
            self.joining = False

    async def _do_commit_offsets(self, assignment: Any, offsets: Any) -> None:
        no_member = self.generation == OffsetCommitRequest.DEFAULT_GENERATION_ID
        if self.joining or no_member or not assignment.active:
            raise RebalanceInProgressError(self.group_id)
        token = _COMMITTED_AS.set((self.generation, self.member_id))
        try:
            await super()._do_commit_offsets(assignment, offsets)
        finally:
            _COMMITTED_AS.reset(token)

    def _is_outdated(self) -> bool:
        committed_as = _COMMITTED_AS.get()
        return committed_as is not None and committed_as != (self.generation, self.member_id)

    def reset_generation(self) -> None:
        """The broker does not know this member (any more); unless it was asked about an earlier one."""
        if not self._is_outdated():
            super().reset_generation()

    def request_rejoin(self) -> None:
        """The group is being formed anew; unless that was said of an earlier generation."""
        if not self._is_outdated():
            super().request_rejoin()

"""The teacher's answer to a question of the page, under the student's conditions."""

from __future__ import annotations

import logging

from services.core.contract import Contract
from services.core.errors import InvalidInput, MpaError, Overloaded, Unavailable
from services.engines.images import LoadedImage
from services.rpc.client import Picture, TeacherClient
from services.rpc.client.replies import AnswerReply
from services.rpc.http.limits import Quota
from services.rpc.request_id import current_request_id

AT_ONCE, AT_ONCE_PER_CALLER = 16, 4
PATIENCE_S = 3.0
"""Seconds until a teacher that answers nobody counts as unreachable."""

_log = logging.getLogger(__name__)


class SecondOpinion:
    """The teacher at `address`, asked with this service's own key (MPA_KEY, MPA_KEY_FILE)."""

    def __init__(self, address: str) -> None:
        """Raises InvalidInput: the address or the file of the key is wrong."""
        self._teacher = TeacherClient(address, patience_s=PATIENCE_S)
        self._asking = Quota("questions to the teacher at once", AT_ONCE, AT_ONCE_PER_CALLER)

    async def ask(
        self, image: LoadedImage, question: str, contract: Contract, caller: str
    ) -> AnswerReply:
        """Raises InvalidInput, Overloaded; Unavailable, which doesn't name the address."""
        picture = Picture(image.sha256, image.data)
        with self._asking.held(caller):
            try:
                return await self._teacher.answer(
                    picture, question, contract.answer_template, contract.decoding
                )
            except (InvalidInput, Overloaded):
                raise
            except MpaError as error:
                _log.warning("the teacher %s: %s", self._teacher.address, error)
                raise Unavailable(
                    "the teacher can't be asked now; the student's log has request "
                    f"{current_request_id.get()}",
                    reason="TEACHER_UNREACHABLE",
                ) from error

    async def close(self) -> None:
        await self._teacher.connection.close()

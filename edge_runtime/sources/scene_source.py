"""A synthetic flight as a source; see :mod:`crackedge.edge_runtime.scenes.scene`."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.scenes.scene import parse_scene
from crackedge.edge_runtime.sources.addresses import Address, Kind, folder_name
from crackedge.edge_runtime.sources.selection import Selection
from crackedge.edge_runtime.sources.source import Gap, Skipped

if TYPE_CHECKING:
    from typing import Self


class SceneSource:
    """The frames of a ``scene:`` address, all or those selected; others are not drawn.

    Raises:
        OptionError: there is no such scene.
        SourceError: while iterating: none is selected.
    """

    kind: Kind = "scene"
    live = False

    def __init__(self, address: Address, selection: Selection) -> None:
        self._flight = parse_scene(address.text)
        self._selection = selection
        self.uri = address.uri
        self.name = folder_name(self._flight.name)
        self.frame_count = selection.count(self._flight.frame_count, fps=self._flight.fps)
        self.fps = selection.rate(self._flight.fps)
        self.width: int | None = self._flight.width
        self.height: int | None = self._flight.height
        self.skipped: list[Skipped] = []
        self.gaps: list[Gap] = []
        self.remarks: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """The frames.

        Raises:
            SourceError: there is none.
        """
        fps, given = self._flight.fps, False
        for index, _, _ in self._selection.of((index, index / fps, None) for index in range(len(self._flight))):
            given = True
            yield self._flight.frame(index)
        if not given:
            raise self._selection.nothing(self.uri, duration_s=len(self._flight) / fps)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

"""A window that shows the marked frames, where OpenCV has windows and there is a display."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

import cv2

from crackedge.edge_runtime.frame import Frame
from crackedge.edge_runtime.records import Record
from crackedge.edge_runtime.scan.scanner import FrameResult
from crackedge.edge_runtime.sinks.marking import marked

if TYPE_CHECKING:
    from typing import Self

_QUIT_KEYS = (ord("q"), 27)  # and Escape


def has_window() -> bool:
    """Whether a window can be opened: ``opencv-python-headless`` has none, and a bare board no display."""
    gui = re.search(r"GUI:\s*(\S+)", cv2.getBuildInformation())
    if gui is None or gui.group(1) == "NONE":
        return False
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class WindowSink:
    """Shows each frame with its cracks marked. To be called by the main thread, as windows want it.

    A window that fails is let go of in silence: it is no output.

    Args:
        name: title of the window.
        on_quit: called when q or Escape is pressed in it.
    """

    def __init__(self, name: str, *, on_quit: Callable[[], None]) -> None:
        self.name = name
        self._on_quit = on_quit
        self._works = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def write(self, frame: Frame, result: FrameResult) -> None:
        """Show a frame."""
        if not self._works:
            return
        try:
            cv2.imshow(self.name, cv2.cvtColor(marked(frame.image, result.regions), cv2.COLOR_RGB2BGR))
            if cv2.waitKey(1) & 0xFF in _QUIT_KEYS:
                self._on_quit()
        except cv2.error:
            self._works = False

    def note(self, record: Record) -> None:
        """Only frames can be seen."""

    def finish(self) -> None:
        """Close the window."""
        if self._works:
            self._works = False
            try:
                cv2.destroyWindow(self.name)
            except cv2.error:
                return

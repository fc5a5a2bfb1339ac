"""Fixed phrases of place, order and motion, in the order in which they are read.

A phrase is (pattern, kind, value). `{side}` in the value stands for the group `side` of the pattern. The kind "unread"
marks phrases that contain a word of place but say nothing about the object's place: a gaze, a hand.
"""

from __future__ import annotations

import re

THE = r"(?:the |its |his |her |their )?"
SIDE = r"(?P<side>left|right)"
OF_FRAME = r"(?: of (?:the )?(?:frame|picture|image|screen|video|view|scene|camera|photo))"
AREA = r"(?: (?:side|hand side|corner|end|edge|part|half|most|area|section))*"
FRAME = AREA + OF_FRAME + "?"
ORDINAL = r"(?P<rank>first|second|third|fourth|fifth|sixth|1st|2nd|3rd)"
PEERS = r"(?:another|other|others|the other|the others|one|the rest|all|two|the two)"
GO = (
    r"(?:moving|walking|running|swimming|flying|driving|crawling|skating|skateboarding|jumping|racing|surfing|cycling|"
    r"rolling|sliding|galloping|drifting|moves|walks|runs|going|coming|goes|comes|heading|moved|riding|traveling|jogging)"
)

TO = r"(?:to|towards|toward) "
AT = r"(?:on |at |to |in )?"
VIEWER = r"(?:camera|viewer|front)"

_PHRASES = (
    # a gaze is not a motion
    (
        r"(?:looking|facing|staring|gazing|pointing|faced|looks|look|faces)(?: \w+){0,3}? (?:left|right|up|down|back|"
        r"front|camera|forward|side|leftwards|rightwards|upwards|downwards)(?: side)?",
        "unread",
        "",
    ),
    (r"(?:looking|facing|staring|gazing|faced)(?: (?:at|towards|toward|away))?", "unread", ""),
    # left and right parts of a body
    (
        r"(?:with |in |on |by )?" + THE + r"(?:left|right) "
        r"(?:hand(?! side)|arm|leg|foot|shoulder|paw|wing|eye|ear|knee|hands|side of the body)",
        "unread",
        "",
    ),
    # directions
    (r"(?:" + GO + r"(?: \w+)? )?from " + THE + r"(?:left|right)" + AREA + " to " + THE + SIDE + AREA,
     "motion", "{side}"),
    (GO + r"(?: \w+){0,2}? (?:to|towards|toward|in) " + THE + r"(?:direction of )?" + THE + SIDE + r"(?! of)" + FRAME,
     "motion", "{side}"),
    (GO + r"(?: \w+)? (?P<side>left|right|leftwards|rightwards|leftward|rightward|upwards|downwards|upward|downward)",
     "motion", "{side}"),
    (r"(?:moving|moves|going|goes|flying|flies) (?P<side>up|down)(?! (?:the )?(?:road|street|track|sidewalk|path))",
     "motion", "{side}"),
    (GO + r" (?:closer|nearer)", "motion", "nearer"),
    (r"(?:hardly|barely) (?:moves|moving|moved)", "motion", "still"),
    (r"(?P<side>leftwards|rightwards|leftward|rightward)", "motion", "{side}"),
    (r"(?:towards|toward) " + THE + SIDE + FRAME, "motion", "{side}"),
    (GO + r"(?: \w+){0,2}? " + TO + THE + VIEWER, "motion", "nearer"),
    (GO + r"(?: \w+){0,2}? away(?: from " + THE + VIEWER + ")?", "motion", "farther"),
    (GO + r"(?: \w+)? (?:forward|forwards|ahead|around|fast|quickly|slowly)", "motion", "moving"),
    (r"(?:not moving|standing still|sitting still|staying still|at rest|does not move)", "motion", "still"),
    (r"(?:turning|turns|turned)(?: \w+){0,2}? (?:" + TO + ")?" + THE + r"(?:left|right|around|back)(?! of)",
     "motion", "turning"),
    # order
    (ORDINAL + r"(?P<noun> \w+)? (?:from|in from) " + THE + r"(?P<side>left|right|top|bottom|front|back)(?: side)?",
     "order", "{side}"),
    (ORDINAL + r"(?P<noun> \w+)? (?:on|to|at) " + THE + SIDE + r"(?: side)?", "order", "{side}"),
    (ORDINAL + r" (?P<side>left|right)most", "order", "{side}"),
    (r"(?P<side>leftmost|rightmost)", "order", "{side}"),
    (AT + THE + r"(?:far|extreme|very|furthest|farthest) (?P<side>left|right|top|bottom)" + FRAME, "order", "{side}"),
    (AT + THE + r"(?P<side>left|right|top|bottom) most", "order", "{side}"),
    (r"(?:closest|nearest) to " + THE + VIEWER, "order", "front"),
    (r"(?:farthest|furthest) (?:away |back )?(?:from " + THE + VIEWER + ")?", "order", "back"),
    # places; "to the left of another" is a place among objects of the same kind
    (r"(?:on|to|at|in|from) " + THE + SIDE + r"(?: side| hand side)? of " + PEERS, "place", "{side}"),
    (r"(?:in |at )?(?:front|ahead) of " + PEERS, "place", "front"),
    (r"behind " + PEERS, "place", "back"),
    (r"above " + PEERS, "place", "top"),
    (r"(?:below|under|underneath) " + PEERS, "place", "bottom"),
    (r"(?:on|at|to|in|from|of|near) " + THE + r"(?:(?:upper|lower|top|bottom) )?(?:side )?" + SIDE + FRAME,
     "place", "{side}"),
    (r"(?:on|at|in|to|near|around) " + THE + r"(?P<side>middle|center|centre)"
     r"(?:" + OF_FRAME + r"| of (?:the )?(?:two|group|others))?", "place", "{side}"),
    (r"(?:on|at|in|to|near) " + THE + r"(?P<side>top|bottom)(?! of)" + FRAME, "place", "{side}"),
    (r"(?:on|at|in|to) " + THE + r"(?P<side>top|bottom)" + OF_FRAME, "place", "{side}"),
    (r"(?:in|at|on|to) " + THE + r"(?:front|foreground|near side)(?! of)", "place", "front"),
    (r"(?:in|at|on|to|from) " + THE + r"(?:background|back|rear|distance|far side|far end|far back)(?! of)",
     "place", "back"),
    (r"(?:closest|nearest|near) " + THE + r"camera", "place", "front"),
    (r"(?:far|farther|further)(?: away)?(?! \w+ (?:side|end))", "place", "back"),
    (r"(?P<side>left|right|middle|center|centre|upper|lower)(?: side| hand side)?", "place", "{side}"),
)  # fmt: skip
PHRASES = tuple((re.compile(rf"(?<= )(?:{pattern}) "), kind, value) for pattern, kind, value in _PHRASES)

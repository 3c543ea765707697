"""Which kinds of further heads there are, and what they may be called."""

from __future__ import annotations

import re

LABEL, LABELS, NUMBER = KINDS = ("label", "labels", "number")
# A head's name stands in metrics and topics.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,47}")
NAME_FORM = "must be up to 48 letters, digits, '_', '.' or '-', with a letter or a digit first"

"""Pure steps of one event's trip; they speak through records and know no server."""

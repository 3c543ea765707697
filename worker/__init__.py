"""fusion-worker: one anchor, one verdict, whatever the order of arrival, whatever crashes."""

//! What became of a recipient: durable record, log line, metric, notice.

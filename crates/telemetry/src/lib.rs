//! Every metric name, and logging.

//! Accountants: from events to (epsilon, delta).

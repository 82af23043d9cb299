"""The suite on one machine: what `tenon up` starts, watches and stops."""

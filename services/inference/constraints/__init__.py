"""What an answer must look like: checked, compiled to a grammar over the base's tokens, and followed token by token."""

"""A small research engine without model or network, written and traced the way a user would write and trace theirs."""

"""From rows of a data set to tokens and what of them is learnt."""

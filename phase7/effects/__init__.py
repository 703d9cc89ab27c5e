"""From scored texts to the effects store: scores, inference, selection, Datasets and files. No torch."""

"""Making checkpoints: fitting projections and training (needs the extra ``[torch]``)."""

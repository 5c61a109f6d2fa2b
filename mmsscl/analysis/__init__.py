"""What ``tools/analysis`` runs: plots of logs, costs of models, t-SNE of features."""

"""Pictures of pairs, saliency, detections and whole runs."""

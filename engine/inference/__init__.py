"""What a trained network predicts for images: evaluation, predictions, GradCAM and the demo."""

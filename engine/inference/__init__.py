"""Uses of a trained network: evaluation, predictions for images, GradCAM and the demo."""

"""Programs that build what the project needs: the environment, the images, and the embedded cluster."""

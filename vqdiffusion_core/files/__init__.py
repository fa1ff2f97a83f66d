"""What lies in users' files: images and folders of them, masks, texts."""

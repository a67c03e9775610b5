"""What a user looks at after a registration: picture, page and a summary in words."""

"""What a person looks at after a registration: a picture and a few sentences."""

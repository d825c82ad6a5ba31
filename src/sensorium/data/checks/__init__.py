"""What is wrong with data, found before anything is learnt from them."""

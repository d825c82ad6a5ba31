"""Running text: streamed, packed, masked, paired; and parallel text."""

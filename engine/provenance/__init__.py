"""What files say of their own origin."""

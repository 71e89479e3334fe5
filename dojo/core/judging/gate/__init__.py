"""Is a challenger better than the champion, and does it cost nothing that matters?"""

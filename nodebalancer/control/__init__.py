"""The one door through which anything is changed or asked."""

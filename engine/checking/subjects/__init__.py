"""What is checked: layers, users' functions and users' objects, each as a `Subject` whose inputs can be moved."""

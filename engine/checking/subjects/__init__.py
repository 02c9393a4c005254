"""What is checked: layers, functions and objects of anyone's, each as a `Subject` whose inputs can be moved."""

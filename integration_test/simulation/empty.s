// Lets owner_test.go declare a function whose body is in the runtime.

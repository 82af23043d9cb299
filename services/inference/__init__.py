"""The inference service: answers of bases and adapters, each adapter on the base it was trained on."""

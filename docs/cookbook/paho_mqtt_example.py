import os

import paho.mqtt.client as mqtt

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.paho_mqtt import authenticate


def on_connect(client, userdata, flags, reason, properties):
    if not reason.is_failure:  # also after each reconnection
        client.subscribe("greetings", qos=1)


def on_subscribe(client, userdata, message_id, reasons, properties):
    client.publish("greetings", b"hello", qos=1)


def on_message(client, userdata, message):
    print("received", message.payload.decode())
    client.disconnect()


with TokenKeeper.from_env() as keeper:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect, client.on_subscribe = on_connect, on_subscribe
    client.on_message = on_message
    authenticate(client, keeper.source("oauth2"))
    client.connect(os.environ["MQTT_HOST"], int(os.environ["MQTT_PORT"]))
    client.loop_forever()

import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import javax.net.ssl.*;

/** An app with the default TLS of the JVM. Only the address is given: every name is the gateway. */
class Client {
    public static void main(String[] args) throws Exception {
        // Reads the trust store, which takes its time.
        SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
        Socket plain = new Socket("127.0.0.1", Integer.parseInt(args[0]));
        plain.setSoTimeout(20000);
        SSLSocket socket = (SSLSocket) factory.createSocket(plain, "collector.example", 443, true);
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setEndpointIdentificationAlgorithm("HTTPS");
        socket.setSSLParameters(parameters);
        try {
            socket.startHandshake();
        } catch (SSLException refused) {
            System.out.println("{\"status\":0,\"body\":\"untrusted\"}");
            return;
        }
        byte[] body = args[1].getBytes(StandardCharsets.UTF_8);
        String head = "POST /v1/results/t2dm HTTP/1.1\r\nHost: collector.example\r\n"
            + "Content-Type: application/json\r\nConnection: close\r\nContent-Length: " + body.length + "\r\n\r\n";
        OutputStream out = socket.getOutputStream();
        out.write(head.getBytes(StandardCharsets.US_ASCII));
        out.write(body);
        out.flush();
        String answer = new String(socket.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        String status = answer.substring(9, 12);
        String text = answer.substring(answer.indexOf("\r\n\r\n") + 4).replace("\\", "\\\\").replace("\"", "\\\"");
        System.out.println("{\"status\":" + status + ",\"body\":\"" + text + "\"}");
    }
}
